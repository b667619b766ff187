import { type Logger, pino } from 'pino';
import type { Settings } from '../config/schema.ts';

/** Structured lines on stderr, with secrets taken out wherever they might have slipped in. */
export function createLogger(name: string, settings: Pick<Settings, 'IMPGEM_LOG_LEVEL'>): Logger {
  return pino(
    {
      name,
      level: settings.IMPGEM_LOG_LEVEL,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      redact: { paths: ['token', 'secret', 'authorization', '*.token', '*.secret', '*.authorization'], censor: '***' },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}
