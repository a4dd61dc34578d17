import { ClientEncryption, MongoClient } from 'mongodb';
import use from '../../use.cjs';

// Not at build time.
export const dynamic = 'force-dynamic';

export const GET = async () => Response.json(await use({ ClientEncryption, MongoClient }, process.env.MONGODB_URI));
