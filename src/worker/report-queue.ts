/**
 * News of steps, told in their order without the next step waiting for the telling. The first error (the job was lost,
 * Redis does not answer) is handed to whoever watches `broken`, and what follows is not told.
 */
export interface ReportQueue {
  push(tell: () => Promise<void>): void;
  /** Settles when all is told; rejects with the first error. */
  drain(): Promise<void>;
  /** Rejects with the first error; never resolves. */
  broken: Promise<never>;
}

export function createReportQueue(): ReportQueue {
  let chain = Promise.resolve();
  let breakWith: (error: unknown) => void = () => undefined;
  const broken = new Promise<never>((_, reject) => (breakWith = reject));
  broken.catch(() => undefined);
  return {
    push: (tell) => {
      chain = chain.then(tell);
      chain.catch(breakWith);
    },
    drain: () => chain,
    broken,
  };
}
