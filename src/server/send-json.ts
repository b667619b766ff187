import type { Response } from 'express';

export function sendJson(res: Response, status: number, value: unknown): void {
  res.status(status);
  res.setHeader('Content-Type', 'application/json; charset=utf-8');
  res.setHeader('Cache-Control', 'no-cache');
  res.end(JSON.stringify(value));
}
