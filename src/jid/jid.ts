import { domainpart } from './idna.js';
import { localpart, resourcepart } from './precis.js';

export { JidCache } from './cache.js';

/** An XMPP address (RFC 7622) whose parts are prepared and enforced; '' stands for a part that is absent. */
export class Jid {
  /** `local@domain`, or `domain` alone. */
  readonly bare: string;
  /** The whole address; the same as `bare` when there is no resource. */
  readonly full: string;

  /** The parts as {@link parseJid} and {@link makeJid} prepare them; nothing is checked here. */
  constructor(
    readonly local: string,
    readonly domain: string,
    readonly resource: string,
  ) {
    this.bare = local === '' ? domain : `${local}@${domain}`;
    this.full = resource === '' ? this.bare : `${this.bare}/${resource}`;
  }

  toString(): string {
    return this.full;
  }

  bareJid(): Jid {
    return this.resource === '' ? this : new Jid(this.local, this.domain, '');
  }

  /** The same with another resource, which must be prepared. */
  withResource(resource: string): Jid {
    return new Jid(this.local, this.domain, resource);
  }
}

/** Prepares each part; '' is an absent local or resource part. Undefined when a part does not conform. */
export function makeJid(local: string, domain: string, resource: string): Jid | undefined {
  const preparedDomain = domainpart(domain);
  if (preparedDomain === undefined) return undefined;
  const preparedLocal = local === '' ? '' : localpart(local);
  if (preparedLocal === undefined) return undefined;
  const preparedResource = resource === '' ? '' : resourcepart(resource);
  return preparedResource === undefined ? undefined : new Jid(preparedLocal, preparedDomain, preparedResource);
}

/** Splits (RFC 7622 §3.2: first at the first `/`, then at the first `@`) and prepares; undefined when malformed. */
export function parseJid(text: string): Jid | undefined {
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const at = address.indexOf('@');
  // A separator promises a part, which may not be empty (RFC 7622 §3.3, §3.4).
  if (at === 0 || slash === text.length - 1) return undefined;
  return makeJid(
    at < 0 ? '' : address.slice(0, at),
    at < 0 ? address : address.slice(at + 1),
    slash < 0 ? '' : text.slice(slash + 1),
  );
}
