/** An authority and what it signs, made by openssl as the engine's image makes them. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Authority {
  /** Makes `name/` with ca.pem, cert.pem and key.pem; gives its path. */
  sign(name: string, extension: string): Promise<string>;
}

export async function makeAuthority(folder: string): Promise<Authority> {
  await mkdir(folder, { recursive: true });
  const ca = { key: join(folder, 'ca-key.pem'), cert: join(folder, 'ca.pem') };
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=test CA'];
  await run('openssl', [...request, '-keyout', ca.key, '-out', ca.cert]);
  return {
    async sign(name, extension) {
      const place = join(folder, name);
      const [key, csr, cert, extensions] = ['key.pem', 'csr.pem', 'cert.pem', 'extensions'].map((file) =>
        join(place, file),
      ) as [string, string, string, string];
      await mkdir(place);
      await writeFile(extensions, extension);
      await run('openssl', [
        'req',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-subj',
        `/CN=${name}`,
        '-keyout',
        key,
        '-out',
        csr,
      ]);
      const signing = ['x509', '-req', '-in', csr, '-CA', ca.cert, '-CAkey', ca.key, '-CAcreateserial', '-days', '2'];
      await run('openssl', [...signing, '-extfile', extensions, '-out', cert]);
      await copyFile(ca.cert, join(place, 'ca.pem'));
      return place;
    },
  };
}
