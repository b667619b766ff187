import type { RequestHandler, Router } from 'express';
import { InputError } from '../errors.ts';

type Method = 'get' | 'post' | 'put';

/** Registers the methods of one path; every other method gets 405 with `Allow`. */
export function resource(router: Router, path: string, methods: Partial<Record<Method, RequestHandler[]>>): void {
  const route = router.route(path);
  const names = Object.keys(methods) as Method[];
  for (const method of names) for (const handler of methods[method] ?? []) route[method](handler);
  const allow = names.flatMap((method) => (method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()])).join(', ');
  route.all((req, res) => {
    res.setHeader('Allow', allow);
    throw new InputError('method-not-allowed', `${req.method} is not possible here; ${allow} is.`, { status: 405 });
  });
}
