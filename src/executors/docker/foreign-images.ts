/**
 * Images that were built for another processor. Whether the engine's host runs them anyway is not ours to guess: with
 * binfmt (qemu) it does, and an operator may want that. So each is tried once, and only those are.
 */
import type Docker from 'dockerode';
import { InputError } from '../../errors.ts';
import { containerOptions } from './container-spec.ts';
import { askKind } from './engine-kind.ts';
import { engineCall, sentenceOf } from './engine.ts';

/** `linux/arm64`. The empty string where an image does not say. */
export type Platform = string;

const LIMITS = { memory: 64 * 1024 * 1024, pids: 16 };

/** Throws InputError `image-platform` when the engine does not run what is in the image `id`. */
export type CheckPlatform = (image: string, id: string, platform: Platform) => Promise<void>;

/** `labels`: of the containers that it tries images in. */
export function createPlatformCheck(docker: Docker, labels: Record<string, string>): CheckPlatform {
  const able = new Set<string>();
  let engines: Platform | undefined;

  return async (image, id, platform) => {
    engines ??= await engineCall('ask the engine for its platform', async () => {
      const { Os, Arch } = await docker.version();
      return `${Os}/${Arch}`;
    });
    if (platform === '' || platform === engines || able.has(id)) return;
    if (!(await runs(docker, id, labels)))
      throw new InputError(
        'image-platform',
        `The image ${image} is for ${platform}, and this engine (${engines}) runs nothing of that`,
      );
    able.add(id);
  };
}

/**
 * A shell that does nothing. That it was the wrong kind of program is told by the kernel only after the engine has said
 * that it started: all there is then is how it ended.
 */
async function runs(docker: Docker, id: string, labels: Record<string, string>): Promise<boolean> {
  return engineCall('try an image of another platform', async () => {
    const engine = await askKind(docker);
    const container = await docker.createContainer(
      containerOptions({
        engine,
        image: id,
        entrypoint: ['/bin/sh', '-c', ':'],
        labels,
        network: 'none',
        limits: LIMITS,
        binds: [],
        stdin: false,
        log: 'none',
      }),
    );
    try {
      const failure: unknown = await container.start().then(
        () => undefined,
        (error: unknown) => error,
      );
      // Without a shell it cannot be tried: whatever wants it hears of that.
      if (failure !== undefined) return !/exec format error/i.test(sentenceOf(failure));
      const { StatusCode } = (await container.wait()) as { StatusCode: number };
      return StatusCode === 0;
    } finally {
      await container.remove({ force: true, v: true });
    }
  });
}
