import type { Request } from 'express';
import { InputError } from '../errors.ts';

/** One query parameter as text; undefined when absent or empty. InputError 400 when given twice or longer than `max`. */
export function queryText(req: Request, name: string, max = 300): string | undefined {
  const value: unknown = req.query[name];
  if (value === undefined || value === '') return undefined;
  if (typeof value !== 'string') throw new InputError('query-invalid', `Give ${name} once.`);
  if (value.length > max) throw new InputError('query-invalid', `${name} is longer than ${max} characters.`);
  return value;
}

/** A whole number from `min` to `max`; undefined when absent. InputError 400 for anything else. */
export function queryNumber(req: Request, name: string, min: number, max: number): number | undefined {
  const text = queryText(req, name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || value < min || value > max)
    throw new InputError('query-invalid', `${name} must be a whole number from ${min} to ${max}.`);
  return value;
}

/** One of `options`; undefined when absent. InputError 400 for anything else. */
export function queryOption<T extends string>(req: Request, name: string, options: readonly T[]): T | undefined {
  const text = queryText(req, name);
  if (text === undefined) return undefined;
  const option = options.find((candidate) => candidate === text);
  if (option === undefined) throw new InputError('query-invalid', `${name} must be one of ${options.join(', ')}.`);
  return option;
}

/** A parameter of the path; express gives a list only for wildcards. */
export function pathText(req: Request, name: string): string {
  const value = req.params[name];
  return Array.isArray(value) ? value.join('/') : (value ?? '');
}
