/** Runs in a container of test/fixtures/compose/override.yml: the fake forge and a git remote where server and worker reach them. */
import { createServer } from 'node:http';
import { startFakeForge } from './fake-forge.ts';
import { startGitServer } from './git-http.ts';

const forge = await startFakeForge({ host: '0.0.0.0', port: 3000 });
await startGitServer({ root: '/git', listen: { host: '0.0.0.0', port: 3001 } });
// For the test, which sees neither: the statuses that were posted.
createServer((_, response) => response.end(JSON.stringify(forge.posts))).listen(3002, '0.0.0.0');
