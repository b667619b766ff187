/**
 * Concurrency groups of a repository: a line for each group, in the order of joining; who stands first may run. Joining twice is
 * joining once, and leaving is final, so both can be done again after a crash.
 */
import type { Redis } from '../queue/connection.ts';

export interface Member {
  run: string;
  /** '' for a whole run. */
  job: string;
}

const lineKey = (repository: string, group: string): string => `ig:group:${repository}:${group}`;
const COUNTER = 'ig:group:next';

const JOIN = `
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZADD', KEYS[1], redis.call('INCR', KEYS[2]), ARGV[1])
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
`;

export interface Groups {
  /** Joins the end of the line (or stays where it stands); gives the line, first first. */
  join(repository: string, group: string, member: Member): Promise<Member[]>;
  /** Leaves the line; gives what is left of it. */
  leave(repository: string, group: string, member: Member): Promise<Member[]>;
}

export function createGroups(redis: Redis): Groups {
  redis.defineCommand('igJoinGroup', { lua: JOIN });
  const commands = redis as unknown as { igJoinGroup(count: number, ...rest: (string | number)[]): Promise<string[]> };
  return {
    join: async (repository, group, member) =>
      (await commands.igJoinGroup(2, lineKey(repository, group), COUNTER, encode(member))).map(decode),
    async leave(repository, group, member) {
      const key = lineKey(repository, group);
      await redis.zrem(key, encode(member));
      return (await redis.zrange(key, 0, '-1')).map(decode);
    },
  };
}

// Neither part can hold a `|`.
const encode = ({ run, job }: Member): string => `${run}|${job}`;

function decode(text: string): Member {
  const [run = '', job = ''] = text.split('|');
  return { run, job };
}

export const isSame = (a: Member, b: Member): boolean => a.run === b.run && a.job === b.job;
