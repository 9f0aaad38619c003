import type { Config } from '../config/config.js';
import { el, type Element } from '../xml/element.js';
import { defineFeature, type Feature } from './feature.js';

const NS_LIMITS = 'urn:xmpp:stream-limits:0';

/** What a stream may carry (XEP-0478 §3.1), which changes with authentication (§4). */
export function limits(config: Config, authenticated: boolean): Element {
  const { stanza_bytes, stanza_bytes_unauthenticated } = config.limits;
  const bytes = authenticated ? stanza_bytes : stanza_bytes_unauthenticated;
  const idle = authenticated ? config.keepalive.ping_after_seconds : 0;
  return el(
    'limits',
    NS_LIMITS,
    {},
    el('max-bytes', NS_LIMITS, {}, String(bytes)),
    idle > 0 ? el('idle-seconds', NS_LIMITS, {}, String(idle)) : undefined,
  );
}

export function streamLimits(): Feature {
  return defineFeature({
    spec: 'XEP-0478',
    title: 'Stream Limits Advertisement',
    version: '0.2.0',
    streamFeatures: (config) => [limits(config, true)],
  });
}
