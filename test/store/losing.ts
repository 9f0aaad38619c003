import type { Redis } from '../../src/redis/redis.js';

/** A link that loses the first answer of each such script: it is run again, when `meanwhile` has been done. */
export function losing(redis: Redis, name: string, meanwhile: () => Promise<unknown>): Redis {
  const run: Redis['run'] = async (script, keys, args, options) => {
    if (script.name !== name) return redis.run(script, keys, args, options);
    await redis.run(script, keys, args, options);
    await meanwhile();
    const again = options?.onAgain?.() ?? { script, keys, args };
    return redis.run(again.script, again.keys, again.args, options);
  };
  return new Proxy(redis, {
    get: (target, property) => {
      const value: unknown = property === 'run' ? run : Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
