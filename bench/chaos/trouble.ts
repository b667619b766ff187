/** What is done to the cast, and to the way to the forge, while pushes come. */
import type { FakeForge, Behaviour } from '../../test/support/fake-forge.ts';
import type { GitServer } from '../../test/support/git-http.ts';
import type { Actor, Cast } from './cast.ts';
import type { Random } from './random.ts';

export interface TroubleDeps {
  random: Random;
  cast: Cast;
  forge: FakeForge;
  git: GitServer;
  say: (line: string) => void;
}

export interface Trouble {
  /** Kills (or freezes) somebody who is up, and sees to it that they come back. */
  strike(): void;
  /** The statuses API from here on: good, slow, failing, dropping connections. */
  changeWeather(): void;
  /** How often what was done. */
  counts: Map<string, number>;
  /** Everybody is back and the weather is good. */
  end(): Promise<void>;
}

/** Of all strikes; the rest goes to workers, servers, Redis, freezes and the way to the forge. */
const ENGINE_SHARE = 0.08;
/** A worker is frozen for longer than its lease of 15 s. */
const LONG_FREEZE_MS = [16_000, 20_000] as const;

export function createTrouble({ random, cast, forge, git, say }: TroubleDeps): Trouble {
  const counts = new Map<string, number>();
  const busy = new Set<Actor>();
  const returning = new Set<Promise<void>>();
  let failure: Error | undefined;
  const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);

  const later = (actor: Actor, ms: number, what: () => Promise<void> | void): void => {
    busy.add(actor);
    const back = new Promise((wake) => setTimeout(wake, ms)).then(what).finally(() => busy.delete(actor));
    returning.add(back);
    void back
      .finally(() => returning.delete(back))
      .catch((error: unknown) => {
        failure ??= error instanceof Error ? error : new Error(String(error));
      });
  };

  const kill = (actor: Actor): void => {
    count(`kill ${actor.kind}`);
    say(`kill ${actor.name}`);
    const gone = actor.kill();
    later(actor, random.between(100, 2000), async () => {
      await gone;
      await actor.start();
    });
  };
  const freeze = (actor: Actor, ms: number): void => {
    count(`freeze ${actor.kind}`);
    say(`freeze ${actor.name} for ${ms} ms`);
    actor.freeze();
    later(actor, ms, () => actor.thaw());
  };
  const disturbGit = (): void => {
    const what = random.pick(['hangs', 'cut', 'slow']);
    const ms = random.between(200, 3000);
    if (git.hang || git.cut || git.delayMs > 0) return;
    count(`git ${what}`);
    git.hang = what === 'hangs';
    git.cut = what === 'cut';
    git.delayMs = what === 'slow' ? random.between(200, 2000) : 0;
    setTimeout(mendGit, ms);
  };
  const mendGit = (): void => {
    git.hang = false;
    git.cut = false;
    git.delayMs = 0;
  };
  const someone = (list: readonly Actor[]): Actor | undefined => {
    const free = list.filter((actor) => !busy.has(actor) && actor.isUp());
    return free.length > 0 ? random.pick(free) : undefined;
  };

  const strikeEngine = (engine: Actor): void => {
    if (random.chance(0.8)) kill(engine);
    else freeze(engine, random.between(500, 6000));
  };

  const strike = (): void => {
    if (cast.engine && random.chance(ENGINE_SHARE)) {
      const engine = someone([cast.engine]);
      if (engine) strikeEngine(engine);
      return;
    }
    const dice = random.next();
    const actor =
      dice < 0.35
        ? someone(cast.workers)
        : dice < 0.65
          ? someone(cast.servers)
          : dice < 0.8
            ? someone([cast.redis])
            : undefined;
    if (actor) kill(actor);
    else if (dice < 0.88) {
      const worker = someone(cast.workers);
      // One worker at a time, or nobody would be left to work.
      if (worker && cast.workers.every((one) => !busy.has(one))) freeze(worker, random.between(...LONG_FREEZE_MS));
    } else if (dice < 0.93) {
      const server = someone(cast.servers);
      if (server) freeze(server, random.between(1000, 12_000));
    } else if (dice < 0.96) {
      const redis = someone([cast.redis]);
      if (redis) freeze(redis, random.between(500, 4000));
    } else disturbGit();
  };

  const weathers: Record<string, () => Behaviour> = {
    good: () => ({ kind: 'answer', status: 201 }),
    slow: () => ({ kind: 'answer', status: 201, delayMs: random.between(100, 3000) }),
    failing: () =>
      random.chance(0.6) ? { kind: 'answer', status: random.pick([500, 502, 503]) } : { kind: 'answer', status: 201 },
    busy: () =>
      random.chance(0.3)
        ? { kind: 'answer', status: 429, headers: { 'retry-after': '1' } }
        : { kind: 'answer', status: 201 },
    dropping: () =>
      random.chance(0.5) ? { kind: random.pick(['drop', 'take-and-drop']) } : { kind: 'answer', status: 201 },
  };

  return {
    counts,
    strike,
    changeWeather() {
      const name = random.pick(Object.keys(weathers));
      count(`forge ${name}`);
      forge.weather = weathers[name];
    },
    async end() {
      forge.weather = undefined;
      while (returning.size > 0) await Promise.allSettled(returning);
      mendGit();
      // Who did not come back is no fault of what is tried, and would look like one.
      if (failure !== undefined) throw failure;
    },
  };
}
