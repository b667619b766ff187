/** Follows a run's live log as any client would: server-sent events over HTTP. */
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';

export interface LogEvent {
  job: string;
  step: number;
  name: string;
  text: string;
}

/** Calls `onLog` for each piece of log; gives the run's final state. */
export async function followRun(url: string, run: string, onLog: (event: LogEvent) => void): Promise<string> {
  const response = await fetch(`${url}/api/runs/${run}/logs`, { headers: { accept: 'text/event-stream' } });
  if (!response.ok || !response.body) throw new Error(`The log could not be followed: HTTP ${response.status}`);
  let event = '';
  for await (const line of createInterface({ input: Readable.fromWeb(response.body) })) {
    if (line.startsWith('event: ')) event = line.slice('event: '.length);
    if (!line.startsWith('data: ')) continue;
    const data = JSON.parse(line.slice('data: '.length)) as LogEvent & { state: string };
    if (event === 'log') onLog(data);
    if (event === 'end') return data.state;
  }
  throw new Error('The log ended before the run did');
}
