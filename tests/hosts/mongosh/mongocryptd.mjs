#!/usr/bin/env node
// What a session of mongosh starts from PATH for automatic encryption, by its real name and at its real port. It goes by itself,
// soon after the session: nobody stops a mongocryptd.
import { startAnalyser } from '../../mongocrypt/analyser.mjs';

const mongocryptdPort = 27020;
const lifetimeMs = 30_000;

setTimeout(() => process.exit(), lifetimeMs);
await startAnalyser({ port: mongocryptdPort });
