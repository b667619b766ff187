import type { Response } from 'express';
import { setPageHeaders } from './security-headers.ts';

export function sendPage(res: Response, status: number, page: string): void {
  setPageHeaders(res);
  res.status(status);
  res.setHeader('Content-Type', 'text/html; charset=utf-8');
  res.setHeader('Cache-Control', 'no-cache');
  res.end(page);
}
