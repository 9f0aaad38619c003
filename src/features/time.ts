import { el } from '../xml/element.js';
import { defineFeature, type Feature } from './feature.js';

const NS_TIME = 'urn:xmpp:time';

/** Offset from UTC as XEP-0082 §3.1 writes it; `minutes` are those of `Date.getTimezoneOffset`, positive in the west. */
export function zoneOffset(minutes: number): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const ahead = Math.abs(minutes);
  return `${minutes > 0 ? '-' : '+'}${two(Math.floor(ahead / 60))}:${two(ahead % 60)}`;
}

export function entityTime(): Feature {
  return defineFeature({
    spec: 'XEP-0202',
    title: 'Entity Time',
    version: '2.0',
    disco: { server: [NS_TIME] },
    routes: {
      server: {
        [`iq:get:${NS_TIME}:time`]: () => {
          const now = new Date();
          return el(
            'time',
            NS_TIME,
            {},
            el('tzo', NS_TIME, {}, zoneOffset(now.getTimezoneOffset())),
            el('utc', NS_TIME, {}, now.toISOString()),
          );
        },
      },
    },
  });
}
