import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import type { XmppClient } from '@xmpp/client';
import type { Config } from '../../config/config.js';
import { paths } from '../../config/paths.js';
import { parseJid } from '../../jid/jid.js';
import { administer } from '../access.js';
import { CliError, EXIT } from '../failure.js';
import { askSecret, generatePassword } from '../prompt.js';
import { printable } from '../text.js';
import { connect, Refused, type Credentials } from './connect.js';
import { findBroker, noBroker, type Target, type TargetOptions } from './target.js';

export interface LoginOptions extends TargetOptions {
  jid?: string;
  password?: string;
}

/** Makes further connections of the same account. */
export interface Login {
  target: Target;
  connect(resource?: string): Promise<XmppClient>;
}

const DEMO_USER = 'demo';

/** Who logs in where: the account given, else the `demo` account of the broker on this machine, made when it is missing. */
export async function login(config: Config, options: LoginOptions): Promise<Login> {
  if (options.jid !== undefined) return givenAccount(config, options.jid, options);
  const target = await findBroker(config, options);
  if (options.host !== undefined)
    throw new CliError('an account is needed for a broker named by --host', 'add --jid user@domain', EXIT.usage);
  return demoAccount(config, target);
}

async function givenAccount(config: Config, jid: string, options: LoginOptions): Promise<Login> {
  const { local, domain, bare } = parseJid(jid) ?? {};
  if (!local || !domain || !bare)
    throw new CliError(`"${printable(jid)}" is not an account`, 'write --jid user@domain', EXIT.usage);
  const host = options.host ?? (domain === config.domain ? undefined : domain);
  const target = await findBroker(config, { ...options, domain, ...(host !== undefined && { host }) });
  const password = options.password ?? (await askPassword(bare));
  return { target, connect: (resource) => connect(target, { jid: bare, password }, resource).catch(explainRefusal) };
}

function explainRefusal(error: unknown): never {
  throw error instanceof Refused ? new CliError(error.message, 'check --jid and the password') : error;
}

async function askPassword(jid: string): Promise<string> {
  if (process.stdin.isTTY) return askSecret(`Password for ${jid}: `);
  throw new CliError(`the password of ${jid} is missing`, 'add --password, or set THRUM_PASSWORD', EXIT.usage);
}

/** The remembered password may be stale (another store, a removed account); then the account is made or renewed once. */
function demoAccount(config: Config, target: Target): Login {
  const file = paths(config.data_dir).demo;
  let credentials = remembered(file, `${DEMO_USER}@${target.domain}`);
  let renewal: Promise<Credentials> | undefined;
  return {
    target,
    async connect(resource) {
      credentials ??= await (renewal ??= renew(config, target, file));
      try {
        return await connect(target, credentials, resource);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (renewal) return explainRefusal(error);
        credentials = await (renewal = renew(config, target, file));
        return connect(target, credentials, resource).catch(explainRefusal);
      }
    },
  };
}

function remembered(file: string, jid: string): Credentials | undefined {
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as Partial<Credentials>;
    return kept.jid === jid && typeof kept.password === 'string' ? { jid, password: kept.password } : undefined;
  } catch {
    // Missing or damaged: as good as not remembered.
    return undefined;
  }
}

async function renew(config: Config, target: Target, file: string): Promise<Credentials> {
  if (!target.local) throw noBroker(target);
  const password = generatePassword();
  await administer(config, async (call) => {
    const made = await call('user.add', { user: DEMO_USER, password });
    if (made === 'exists') await call('user.passwd', { user: DEMO_USER, password });
  });
  const credentials = { jid: `${DEMO_USER}@${target.domain}`, password };
  writeFileSync(file, `${JSON.stringify(credentials)}\n`, { mode: 0o600 });
  chmodSync(file, 0o600);
  return credentials;
}
