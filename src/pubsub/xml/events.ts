import { escapeAttr } from '../../xml/escape.js';
import type { NodeConfig } from '../options.js';
import { NS_EVENT } from '../wire.js';
import { configurationForm } from './forms.js';

/** The content of `<event/>` for all that is not an item: each a string of XML. */

const attribute = (name: string): string => escapeAttr(name);

/** A transient notification without payload (XEP-0060 §4.3). */
export function happened(node: string): string {
  return `<items node='${attribute(node)}'/>`;
}

/** §7.2.2.1. */
export function retracted(node: string, ids: readonly string[]): string {
  const retracts = ids.map((id) => `<retract id='${attribute(id)}'/>`).join('');
  return `<items node='${attribute(node)}'>${retracts}</items>`;
}

/** §8.5.2. */
export function purged(node: string): string {
  return `<purge node='${attribute(node)}'/>`;
}

/** §8.4.2. */
export function deleted(node: string, redirect: string | undefined): string {
  const inner = redirect === undefined ? '' : `<redirect uri='${attribute(redirect)}'/>`;
  return `<delete node='${attribute(node)}'>${inner}</delete>`;
}

/** §8.2.5.3: the configuration as it is now, where the node delivers payloads. */
export function configured(node: string, config: NodeConfig): string {
  const form = config.deliver_payloads ? configurationForm('result', config).serialize(NS_EVENT) : '';
  return `<configuration node='${attribute(node)}'>${form}</configuration>`;
}
