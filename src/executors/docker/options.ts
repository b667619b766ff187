import type { Limits } from '../../runs/plan.ts';
import type { NestedRights } from './nested-options.ts';

/** Where an engine is, as `DOCKER_HOST`, `DOCKER_CERT_PATH` and `DOCKER_TLS_VERIFY` say it. */
export interface EngineAddress {
  /** `unix:///var/run/docker.sock` (default), `tcp://host:port`, `https://host:port`. */
  host?: string;
  /** Folder of ca.pem, cert.pem, key.pem. */
  certPath?: string;
  /** TLS with client certificate over TCP. */
  tlsVerify?: boolean;
}

export interface DockerOptions extends EngineAddress {
  /** Caps for every step; a step may ask for less, not for more. Bytes, cores, processes. */
  limits: Required<Limits>;
  /** `uid` or `uid:gid` of steps. Default: the user of the image. */
  runAs?: string;
  pullPolicy: 'missing' | 'always';
  /** Registry credentials: the JSON text of a ~/.docker/config.json. */
  authConfig?: string;
  /** Names this installation: what bears another instance's label is never touched. `[A-Za-z0-9_.-]+`. */
  instance: string;
  /** Names this worker among those of the installation. */
  workerName: string;
  /** Folder of containers kept warm; on the same file system as the job folders, or they are not used. */
  folder: string;
  /** Bytes of output after which a step is killed. */
  logLimit: number;
  /** Bytes that are taken back of a job's workspace, and of its home, where the disk is not shared; default 20 GiB. */
  filesLimit?: number;
  /** Sets of containers kept ready between jobs; default 2. 0: none. */
  warmSlots?: number;
  /** Whether the engine sees our disk at the same paths. Default: found out. */
  sharesDisk?: boolean;
  /**
   * The operator's image, for jobs that name none: the first one finds containers of it warm, if the engine has it. What
   * we run ourselves with rights that no step has runs in it alone, never in an image that a pipeline names.
   */
  image: string;
  /** Hears of what went wrong in the background (a removal, warming up), and of rules that the engine cannot have. */
  onProblem?: (error: unknown) => void;
  /** What steps with `docker: true` get, in jobs of trusted repositories. Absent: no step gets one. */
  nested?: NestedOptions;
  /** Networks (CIDR) that no step may reach, besides the engine's own addresses and link-local ones. */
  blockedNetworks?: string[];
}

export interface NestedOptions {
  /** Has dockerd and docker; `docker:dind` is one. */
  image: string;
  rights: NestedRights;
}
