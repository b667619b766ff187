import { execa } from 'execa';
import { BASE_IMAGE, startDockerEngine } from './docker-engine.ts';

/** Stands in for docker:dind where no registry can be reached: Debian's engine and client, on the tests' base image. */
export const NESTED_IMAGE = 'impgem-test/nested';

const DOCKERFILE = `FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends docker.io iptables && rm -rf /var/lib/apt/lists/*
`;

/** Rights with which an engine runs inside one that may not give --privileged itself, as that of a container may not. */
export const NESTED_OPTIONS =
  '--cap-add ALL --cap-drop SYS_RESOURCE --security-opt seccomp=unconfined --security-opt apparmor=unconfined ' +
  '--security-opt systempaths=unconfined -v /sys/fs/cgroup:/sys/fs/cgroup';

/** Quick when the engine has it already. */
export async function makeNestedImage(): Promise<void> {
  await startDockerEngine();
  await execa('docker', ['build', '--network', 'host', '-t', NESTED_IMAGE, '-'], {
    input: DOCKERFILE,
    env: { DOCKER_BUILDKIT: '0' },
  });
}
