import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countWords } from '../build/words.js';

test('counts words', () => assert.equal(countWords('  one two\nthree '), 3));
