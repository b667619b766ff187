/** What a service may do instead of getting ready, in the words of every executor. */
import { ImpGemError } from '../errors.ts';

export function serviceEnded(name: string, exitCode: number): ImpGemError {
  return new ImpGemError('service-failed', `The service ${name} ended with exit code ${exitCode} before it was ready`);
}

export function serviceNotReady(name: string, timeoutMs: number): ImpGemError {
  return new ImpGemError('service-not-ready', `The service ${name} was not ready within ${timeoutMs} ms`);
}
