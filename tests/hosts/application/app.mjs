import { ClientEncryption, MongoClient } from 'mongodb';
import use from './use.cjs';

console.log(JSON.stringify(await use({ ClientEncryption, MongoClient }, process.argv[2])));
