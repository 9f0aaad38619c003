/** This Redis cannot be used as it is; the message says why, and what to change. */
export class RedisRefused extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RedisRefused';
  }
}
