import type { XmppClient } from '@xmpp/client';
import type { Config } from '../../config/config.js';
import { parseJid } from '../../jid/jid.js';
import { administer } from '../access.js';
import { controlRequest } from '../control.js';
import { CliError, EXIT } from '../failure.js';
import { askSecret } from '../prompt.js';
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

/**
 * The running broker says the password, the same at every host of a cluster: one of our own would end what runs at another. The account
 * is made when it is missing, and renewed once when it has another password.
 */
function demoAccount(config: Config, target: Target): Login {
  let made: Promise<Credentials> | undefined;
  let renewal: Promise<void> | undefined;
  return {
    target,
    async connect(resource) {
      const credentials = await (made ??= make(config, target));
      try {
        return await connect(target, credentials, resource);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        await (renewal ??= renew(config, credentials.password));
        return connect(target, credentials, resource).catch(explainRefusal);
      }
    },
  };
}

async function make(config: Config, target: Target): Promise<Credentials> {
  const answer = target.local ? await controlRequest(config.data_dir, 'demo.password', {}) : undefined;
  if (answer === undefined) throw noBroker(target);
  if ('error' in answer) throw new CliError(answer.error);
  const password = String(answer.result);
  await administer(config, (call) => call('user.add', { user: DEMO_USER, password }));
  return { jid: `${DEMO_USER}@${target.domain}`, password };
}

async function renew(config: Config, password: string): Promise<void> {
  await administer(config, (call) => call('user.passwd', { user: DEMO_USER, password }));
}
