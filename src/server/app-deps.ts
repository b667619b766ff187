/** What the HTTP server is handed: it builds nothing itself, so that it can be tested on stand-ins of its neighbours. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Logger } from 'pino';
import type { ForgeName } from '../runs/event.ts';
import type { ArtifactReader, ArtifactUploads } from '../artifacts/artifact-store.ts';
import type { LogStore } from '../logs/log-store.ts';
import type { Run } from '../runs/run.ts';
import type { RunStore } from '../runs/store.ts';

export interface IntakeAnswer {
  delivery: string;
  result: 'accepted' | 'duplicate' | 'ignored';
  reason?: string;
}

/** A worker that lives, as the HTTP contract shows it. */
export interface WorkerView {
  name: string;
  labels: string[];
  /** Why it takes no job just now; absent: it takes them. */
  paused?: string;
  /** Jobs that it holds. */
  jobs: { run: string; job: string }[];
}

export interface AppDeps {
  runs: RunStore;
  logs: LogStore;
  artifacts: ArtifactReader & ArtifactUploads;
  /**
   * Takes one delivery: reads its body, verifies the signature, then parses, then makes it durable. Throws what `readBody`
   * throws, InputError (401, 400), or InfrastructureError when it could not be kept: the forge is told to try again (503).
   */
  receive(forge: ForgeName, headers: IncomingHttpHeaders, readBody: () => Promise<Buffer>): Promise<IntakeAnswer>;
  /** A manual run; several pipelines make several runs. Throws InputError 404 or 422. */
  trigger(repository: string, ref: string): Promise<Run[]>;
  workers: {
    /** By name. */
    list(): Promise<WorkerView[]>;
    /** Tells it to take no more jobs, or to take them again. False: none of that name lives, or is drained. */
    setDrained(name: string, drained: boolean): Promise<boolean>;
  };
  ready(): Promise<{ ok: boolean; checks: Record<string, string> }>;
  /** Prometheus text. */
  metrics(): Promise<string>;
  apiToken?: string;
  metricsToken?: string;
  publicUrl(): string;
  /** Most live logs at once, 1000 unless said; more are answered 503. */
  mostLive?: number;
  /** Folder of the bundled script and style sheet of the pages. */
  assets: string;
  log: Logger;
}
