/**
 * What every executor must do, as one suite. A test file calls `conformance(name, subject)`; the capability flags of the
 * subject choose what applies.
 */
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import type { Executor, JobContext } from '../../src/executors/executor.ts';
import { describeCancel } from './conformance/cancel.ts';
import { describeContract } from './conformance/contract.ts';
import { describeEnvironment } from './conformance/environment.ts';
import { describeHandover } from './conformance/handover.ts';
import { describeIsolation } from './conformance/isolation.ts';
import { openJob, type Capabilities, type Subject, type TestJob } from './conformance/job.ts';
import { describeLimits } from './conformance/limits.ts';
import { describeOutput } from './conformance/output.ts';
import { describeServices } from './conformance/services.ts';

export type { Capabilities, Subject } from './conformance/job.ts';

/** What a group of tests is given. */
export interface Bench {
  can: Capabilities;
  image: string;
  executor: () => Executor;
  /** A fresh job, disposed of after the test. */
  job: (extra?: Partial<JobContext>) => Promise<TestJob>;
}

export function conformance(name: string, subject: Subject): void {
  describe(`executor ${name}`, () => {
    let executor: Executor;
    let open: TestJob[] = [];

    beforeAll(async () => {
      executor = await subject.create();
    });
    afterEach(async () => {
      const closing = open;
      open = [];
      await Promise.all(closing.map((job) => job.close()));
    });
    afterAll(async () => {
      await executor.close();
    });

    const bench: Bench = {
      can: subject.can,
      image: subject.image,
      executor: () => executor,
      job: async (extra) => {
        const job = await openJob(executor, subject.image, extra);
        open.push(job);
        return job;
      },
    };

    describeContract(bench);
    if (subject.can.bash) {
      describeOutput(bench);
      describeEnvironment(bench);
      describeHandover(bench);
      describeCancel(bench);
      describeIsolation(bench);
    }
    if (subject.can.limits) describeLimits(bench);
    if (subject.can.services) describeServices(bench);
  });
}
