import { expect, it, vi } from 'vitest';
import { RedisUnavailable } from '../../src/redis/redis.js';
import { createLogger } from '../../src/server/log.js';
import { StoreError } from '../../src/store/store.js';

const away = new RedisUnavailable('Redis did not do bind within 5 s.');

function logger() {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
  return { log: createLogger('info', { worker: 'supervisor' }, { write }), lines };
}

it('names the worker once, the one that a line is about', () => {
  const texts: string[] = [];
  createLogger('info', { worker: 'supervisor' }, { write: (line) => void texts.push(line) }).info(
    { worker: 3 },
    'died',
  );
  expect(texts[0]!.split('"worker":')).toHaveLength(2);
  expect(JSON.parse(texts[0]!)).toMatchObject({ worker: 3, msg: 'died' });
});

it('says of an outage what fails once a minute, with how often it was not said, and without a stack', () => {
  vi.useFakeTimers();
  const { log, lines } = logger();
  for (let session = 0; session < 1000; session++) log.error({ err: away, session }, 'a resource could not be bound');
  log.error({ err: new StoreError('full', 'The disk is full.') }, 'a request failed');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatchObject({ worker: 'supervisor', session: 0, reason: away.message });
  expect(lines[0]).not.toHaveProperty('err');
  vi.advanceTimersByTime(60_000);
  log.error({ err: away, session: 1000 }, 'a resource could not be bound');
  expect(lines[2]).toMatchObject({ session: 1000, unsaid: 999 });
  vi.useRealTimers();
});

it('says every other error, with its stack', () => {
  const { log, lines } = logger();
  for (const err of [new Error('odd'), new Error('odd'), new StoreError('corrupt', 'torn')])
    log.error({ err }, 'failed');
  expect(lines.map(({ err }) => (err as Error).message)).toEqual(['odd', 'odd', 'torn']);
  expect((lines[0]!.err as Error).stack).toContain('log.test.ts');
});
