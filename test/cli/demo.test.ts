/** `impgem demo` as a process, from where a user may start it. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.ts';

it('runs on embedded defaults, whatever a server here is set up with', async () => {
  const folder = await temporaryFolder();
  const settings = {
    REDIS_URL: 'redis://127.0.0.1:1',
    IMPGEM_ALLOW_REPOSITORIES: 'gitea/somebody/else',
    IMPGEM_WEBHOOK_SECRET: 'a-secret-of-the-server',
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(join(folder, '.env'), lines.join(''));
  const env = { ...process.env, ...settings, IMPGEM_DATA: 'data' };
  const { stdout } = await promisify(execFile)(process.execPath, [resolve('dist/impgem.js'), 'demo'], {
    cwd: folder,
    env,
  });
  expect(stdout).toContain('-> 202');
  expect(stdout).toMatch(/^Run \S+ succeeded in /m);
});
