import { xml, type XmlElement } from '@xmpp/client';

/**
 * What Thrum's simulated sensors publish: `<reading xmlns='urn:thrum:reading' at='2026-01-31T12:00:00.000Z' value='21.4'
 * unit='Cel'/>`; the time by XEP-0082, the unit by RFC 8428 §12.1.
 */
export const NS_READING = 'urn:thrum:reading';

export interface Reading {
  /** Milliseconds since the epoch. */
  at: number;
  value: number;
  unit: string;
}

export function readingElement(reading: Reading): XmlElement {
  return xml('reading', {
    xmlns: NS_READING,
    at: new Date(reading.at).toISOString(),
    value: reading.value.toFixed(2),
    unit: reading.unit,
  });
}

/** Undefined for any other payload. */
export function readingOf(payload: XmlElement | undefined): Reading | undefined {
  if (!payload?.is('reading', NS_READING)) return undefined;
  const { at = '', value = '', unit = '' } = payload.attrs;
  const reading = { at: Date.parse(at), value: Number.parseFloat(value), unit };
  return Number.isFinite(reading.value) ? reading : undefined;
}

const SYMBOLS: Record<string, string> = { Cel: '°C', '%RH': '% RH', W: 'W', Pa: 'Pa' };

/** `21.40 °C`. */
export function readingText(reading: Pick<Reading, 'value' | 'unit'>): string {
  return `${reading.value.toFixed(2)} ${SYMBOLS[reading.unit] ?? reading.unit}`.trimEnd();
}

/** A simulated quantity: a random walk that is drawn back to where it began. */
export class RandomWalk {
  private value: number;

  constructor(
    private readonly home: number,
    private readonly step: number,
    private readonly random: () => number = Math.random,
  ) {
    this.value = home + (random() - 0.5) * step * 8;
  }

  next(): number {
    this.value += (this.random() - 0.5) * 2 * this.step + (this.home - this.value) * 0.02;
    return this.value;
  }
}
