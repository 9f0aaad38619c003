import type { Config } from '../config/config.js';
import { makeJid, parseJid } from '../jid/jid.js';
import { administer, everything } from './access.js';
import type { UserSummary } from './admin.js';
import { CliError, EXIT } from './failure.js';
import { confirm, newPassword, type PasswordOptions } from './prompt.js';
import { printable, table } from './text.js';

/** Each resolves to what goes to stdout. */
export const userCommands = {
  async add(config: Config, name: string, options: PasswordOptions): Promise<string> {
    const user = localpart(config, name);
    const { password, made } = await newPassword(user, options);
    const outcome = await administer(config, (call) => call('user.add', { user, password }), { create: true });
    if (outcome === 'exists')
      throw new CliError(`${user}@${config.domain} exists already`, `thrum user passwd ${user} changes the password`);
    if (outcome === 'invalid') throw refused;
    return made ? `${user}@${config.domain} ${password}` : `${user}@${config.domain} created`;
  },

  async passwd(config: Config, name: string, options: PasswordOptions): Promise<string> {
    const user = localpart(config, name);
    const { password, made } = await newPassword(user, options);
    const outcome = await administer(config, (call) => call('user.passwd', { user, password }));
    if (outcome === 'missing') throw missing(config, user);
    if (outcome === 'invalid') throw refused;
    return made ? `${user}@${config.domain} ${password}` : `the password of ${user}@${config.domain} is changed`;
  },

  async remove(config: Config, name: string, options: { yes?: boolean }): Promise<string> {
    const user = localpart(config, name);
    await confirm(`Remove ${user}@${config.domain}?`, options.yes);
    const removed = await administer(config, (call) => call('user.remove', { user }));
    if (!removed) throw missing(config, user);
    return `${user}@${config.domain} removed`;
  },

  async list(config: Config, options: { json?: boolean }): Promise<string> {
    const users = await administer(config, async (call) => {
      const all: UserSummary[] = [];
      const page = (after: string | undefined, limit: number) => call('user.list', { ...(after && { after }), limit });
      for await (const user of everything(page, (entry) => entry.user)) all.push(user);
      return all;
    });
    const rows = users.map(({ user, created }) => ({ jid: `${user}@${config.domain}`, created: isoTime(created) }));
    if (options.json) return JSON.stringify(rows, null, 2);
    if (rows.length === 0) return 'no accounts; thrum user add NAME makes one';
    return table(
      ['account', 'created'],
      rows.map(({ jid, created }) => [printable(jid), created]),
    );
  },
};

const refused = new CliError(
  'the password has characters that are not allowed (RFC 8265 §4)',
  'use visible characters and plain spaces',
);

function missing(config: Config, user: string): CliError {
  return new CliError(`there is no account ${user}@${config.domain}`, 'thrum user list shows those that are');
}

/** The account meant by `ann` or `ann@domain`, prepared (RFC 8265 §3.3). */
function localpart(config: Config, name: string): string {
  const jid = name.includes('@') ? parseJid(name) : makeJid(name, config.domain, '');
  if (!jid || jid.local === '' || jid.resource !== '')
    throw new CliError(
      `"${printable(name)}" is not a user name`,
      'write a name such as ann, or ann@domain',
      EXIT.usage,
    );
  const own = parseJid(config.domain)?.domain;
  if (jid.domain !== own)
    throw new CliError(
      `"${printable(name)}" is not an account here`,
      `this broker serves ${config.domain}`,
      EXIT.usage,
    );
  return jid.local;
}

export function isoTime(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}
