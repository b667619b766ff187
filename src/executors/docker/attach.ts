import type Docker from 'dockerode';
import { Duplex } from 'node:stream';

/**
 * The standard input of a container that waits, and its output with it where `output` says so. Dockerode's own call sends what
 * it asks for a second time as the body of the request; Podman takes a body for the first input of the container.
 */
export function attachInput(docker: Docker, containerId: string, output: boolean): Promise<Duplex> {
  const asked = { stream: true, stdin: true, stdout: output, stderr: output };
  return new Promise((resolve, reject) => {
    docker.modem.dial(
      {
        path: `/containers/${containerId}/attach?`,
        method: 'POST',
        headers: { 'Content-Type': 'text/plain' },
        // A body of no bytes: without one it would be sent in chunks, and the last of them, `0`, is input as well.
        file: Buffer.alloc(0),
        options: asked,
        hijack: true,
        isStream: true,
        statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
      },
      (error, stream) => {
        if (stream instanceof Duplex) resolve(stream);
        else reject(error ?? new Error('the engine does not let go of the connection for the input of a container'));
      },
    );
  });
}
