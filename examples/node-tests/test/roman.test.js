import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toRoman } from '../build/roman.js';

test('small numbers', () => assert.equal(toRoman(14), 'XIV'));
test('a year', () => assert.equal(toRoman(1994), 'MCMXCIV'));
