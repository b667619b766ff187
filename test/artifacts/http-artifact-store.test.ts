import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { InfrastructureError, InputError } from '../../src/errors.ts';
import { createHttpArtifactStore } from '../../src/artifacts/http-artifact-store.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TOKEN, sampleRun, startTestServer } from '../support/test-server.ts';

const patience = { lost: new AbortController().signal, enough: new AbortController().signal };

async function setUp() {
  const server = await startTestServer();
  onTestFinished(() => server.close());
  const run = sampleRun();
  server.runs.put(run);
  const folder = await temporaryFolder();
  const store = createHttpArtifactStore({ url: server.url, token: TOKEN }, patience);
  return { server, run: run.id, folder, store };
}

describe('createHttpArtifactStore', () => {
  it('sends files to a real server, with their names and times', async () => {
    const { server, run, folder, store } = await setUp();
    const contents = [Buffer.alloc(3_000_000, 'large '), Buffer.alloc(0), Buffer.from('small')];
    const expiresAt = new Date(Date.now() + 60_000).toISOString();
    const files = await Promise.all(
      contents.map(async (content, n) => {
        await writeFile(join(folder, `f${n}`), content);
        return { path: `out/ü ${n}&x=1?#.txt`, source: join(folder, `f${n}`), name: 'my files', expiresAt };
      }),
    );
    await store.add(run, 'build', files);
    for (const [n, content] of contents.entries()) {
      const { stream } = await server.deps.artifacts.open(run, 'build', files[n]!.path);
      expect((await buffer(stream)).equals(content)).toBe(true);
    }
    expect(await server.deps.artifacts.manifest(run)).toHaveLength(3);
    expect((await server.deps.artifacts.manifest(run))[0]).toMatchObject({ name: 'my files', expiresAt });
  });

  it('sends nothing that is not the plain file it was', async () => {
    const { server, run, folder, store } = await setUp();
    await symlink('/etc/passwd', join(folder, 'link'));
    const attempt = store.add(run, 'build', [{ path: 'a', source: join(folder, 'link') }]);
    await expect(attempt).rejects.toMatchObject({ code: 'file-refused' });
    expect(await server.deps.artifacts.manifest(run)).toEqual([]);
  });

  it('hands on what the server refuses', async () => {
    const { run, folder, store } = await setUp();
    await writeFile(join(folder, 'a'), 'x');
    const source = join(folder, 'a');
    const refusal = (...args: Parameters<typeof store.add>): Promise<unknown> =>
      store.add(...args).catch((error: unknown) => error);
    const named = await Promise.all([
      refusal(run, 'build', [{ path: '../a', source }]),
      refusal(run, 'build', [{ path: 'a', source, name: 'n'.repeat(300) }]),
      refusal(run, 'build', [{ path: 'a/'.repeat(2501) + 'a', source }]),
    ]);
    // The pipeline's doing; what follows is not.
    for (const error of named) expect(error).toBeInstanceOf(InputError);
    expect(named[0]).toMatchObject({ code: 'path-invalid' });
    const unknown = await Promise.all([
      refusal(run, 'no-job', [{ path: 'a', source }]),
      refusal('no-run', 'build', [{ path: 'a', source }]),
    ]);
    for (const error of unknown) expect(error).toBeInstanceOf(InfrastructureError);
    expect(unknown).toMatchObject([{ code: 'job-unknown' }, { code: 'run-unknown' }]);
  });

  it('sends a file again when the connection breaks, and notices when something else was stored', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'a'), 'x'.repeat(100_000));
    let tries = 0;
    const stub = createServer((req, res) => {
      tries++;
      if (tries === 1) return void req.once('data', () => req.destroy());
      req.resume().on('end', () => res.end('{"sha256":"something else"}'));
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void stub.close());
    await new Promise((resolve) => stub.once('listening', resolve));
    const store = createHttpArtifactStore(
      { url: `http://127.0.0.1:${(stub.address() as AddressInfo).port}`, token: 't' },
      patience,
    );
    const attempt = store.add('r', 'j', [{ path: 'a', source: join(folder, 'a') }]);
    await expect(attempt).rejects.toMatchObject({ code: 'artifact-differs' });
    expect(tries).toBe(2);
  });
});
