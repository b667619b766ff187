import assert from 'node:assert/strict';

const store = process.env.STORE;
await fetch(`${store}/colour`, { method: 'PUT', body: 'emerald' });
const answer = await (await fetch(`${store}/colour`)).text();
assert.equal(answer, 'emerald');
console.log(`the store remembers: ${answer}`);
