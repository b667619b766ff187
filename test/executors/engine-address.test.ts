import { expect, it } from 'vitest';
import { resolveEndpoint } from '../../src/executors/docker/engine-address.ts';

it.each([
  ['tcp://[::1]:2375', { protocol: 'http', host: '::1', port: 2375 }],
  ['http://[fd00::2]', { protocol: 'http', host: 'fd00::2', port: 2375 }],
  ['tcp://engine.example:99', { protocol: 'http', host: 'engine.example', port: 99 }],
  ['unix:///run/engine.sock', { socketPath: '/run/engine.sock' }],
])('%s leads where it says', (host, endpoint) => {
  expect(resolveEndpoint({ host })).toEqual(endpoint);
});
