/** The raw limit of intake: an express app that only verifies the signature and adds one BullMQ job. Run as a process of its own. */
import { verify } from '@octokit/webhooks-methods';
import { Queue } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';

const redis = new Redis({ path: process.env['REDIS_SOCKET'] ?? '', maxRetriesPerRequest: null });
const queue = new Queue('bare', { connection: redis });
const app = express();
app.post('/webhooks/github', express.raw({ type: 'application/json', limit: '25mb' }), async (request, response) => {
  const body = (request.body as Buffer).toString('utf8');
  if (!(await verify(process.env['SECRET'] ?? '', body, String(request.headers['x-hub-signature-256'])))) {
    response.status(401).end();
    return;
  }
  await queue.add('event', JSON.parse(body) as object, { jobId: String(request.headers['x-github-delivery']) });
  response.status(202).json({ ok: true });
});
const server = app.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}\n`);
});
