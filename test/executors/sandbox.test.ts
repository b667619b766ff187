import { createSandboxExecutor } from '../../src/executors/sandbox/executor.ts';
import { conformance } from './conformance.ts';

conformance('sandbox', {
  create: () => createSandboxExecutor({ mounts: [], limits: { pids: 512, memory: 1024 * 1024 * 1024 } }),
  image: 'debian:bookworm-slim',
  can: {
    bash: true,
    images: false,
    limits: true,
    services: true,
    adoption: false,
    blocksOnOutput: true,
    sealsProc: true,
  },
});
