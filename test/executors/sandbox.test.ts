import { findCgroups } from '../../src/executors/sandbox/cgroups.ts';
import { createSandboxExecutor } from '../../src/executors/sandbox/executor.ts';
import { conformance } from './conformance.ts';

conformance('sandbox', {
  create: () => createSandboxExecutor({ mounts: [], limits: { pids: 512, memory: 1024 * 1024 * 1024 } }),
  image: 'debian:bookworm-slim',
  can: {
    bash: true,
    images: false,
    // A normal user without delegated control groups has limits of single processes only.
    limits: findCgroups() !== undefined,
    services: true,
    adoption: false,
    blocksOnOutput: true,
    sealsProc: true,
  },
});
