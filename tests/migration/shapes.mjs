// Documents with encrypted values, and what another writer makes of them while a migration is between reading and writing.
import * as bson from 'bson';

// Each: what is read, and what a writer makes of it. X, Y, Z are encrypted values; X is deterministic, and so is its equal.
export const changes = {
  'a value becomes an array that contains it': ({ X, Y }) => [{ tags: X }, { tags: [X, 'NEW', Y] }],
  'a value becomes an array of it alone': ({ X }) => [{ tags: X }, { tags: [X] }],
  'an array becomes its value': ({ X }) => [{ tags: [X] }, { tags: X }],
  'an array becomes an array within an array': ({ X, Y }) => [{ tags: [X, Y] }, { tags: [[X, 'NEW'], Y] }],
  'an element becomes an array that contains it': ({ X, Y }) => [{ tags: [X, Y] }, { tags: [X, [Y, 'NEW', X]] }],
  'an array gets another order': ({ X, Y, Z }) => [{ tags: [X, Y, Z] }, { tags: [Z, X, Y, 'NEW'] }],
  'an array loses its first element': ({ X, Y, Z }) => [{ tags: [X, Y, Z] }, { tags: [Y, Z] }],
  'an array gets a first element': ({ X, Y }) => [{ tags: [X, Y] }, { tags: ['NEW', X, Y] }],
  'a document becomes an array of documents': ({ X }) => [{ a: { b: X } }, { a: [{ b: X, n: 'NEW' }] }],
  'an array of documents becomes a document': ({ X }) => [{ a: [{ b: X }] }, { a: { b: X, 0: 'NEW' } }],
  'a document in an array of documents': ({ X, Y }) => [{ a: { b: { c: X }, d: Y } }, { a: { b: [{ c: X }, 'NEW'], d: Y } }],
  'an array becomes a document with numbers as names': ({ X, Y }) => [{ list: [X, Y] }, { list: { 0: X, 1: Y, n: 'NEW' } }],
  'a document with numbers as names becomes an array': ({ X, Y }) => [{ list: { 0: X, 1: Y } }, { list: [X, Y, 'NEW'] }],
  'numbers as names within the elements of an array': ({ X, Y }) => [{ list: [X, Y] }, { list: [{ 1: Y }, { 0: X }] }],
  'a value becomes null': ({ X, Y }) => [
    { a: X, b: Y },
    { a: null, b: Y },
  ],
  'a value is removed': ({ X, Y }) => [{ a: X, b: Y }, { b: Y }],
  'a field is renamed': ({ X }) => [{ a: { b: X } }, { c: { b: X } }],
  'a value changes its subtype': ({ X, Y }) => [
    { a: X, b: Y },
    { a: new bson.Binary(X.buffer, 0), b: Y },
  ],
  'names with dots beside a number of another type': ({ X }) => [
    { 'a.b': X, n: new bson.Int32(1) },
    { 'a.b': X, n: new bson.Double(1) },
  ],
  'names with dots beside a zero of another sign': ({ X }) => [
    { 'a.b': X, n: new bson.Double(0) },
    { 'a.b': X, n: new bson.Double(-0) },
  ],
  'names with dots that become paths': ({ X, Y }) => [
    { 'a.b': X, c: Y },
    { a: { b: X }, c: Y },
  ],
  'paths that become names with dots': ({ X, Y }) => [
    { a: { b: X }, c: Y },
    { 'a.b': X, c: Y },
  ],
  'names with dollars in an array that moves': ({ X, Y }) => [{ a: [{ $x: X }, { $x: Y }] }, { a: [{ $x: Y }, { $x: X, n: 'NEW' }] }],
  'names with dollars whose array becomes a document': ({ X }) => [{ a: [{ $x: X }] }, { a: { 0: { $x: X }, n: 'NEW' } }],
  'an empty name whose value becomes an array': ({ X }) => [{ a: { '': X } }, { a: { '': [X, 'NEW'] } }],
  'other fields around odd names': ({ X, Y }) => [
    { 'a.b': { '': X, $c: [1, Y, 2] }, n: 1 },
    { n: 2, 'a.b': { more: 3, '': X, $c: [1, Y, 2, 'NEW'] } },
  ],
};
