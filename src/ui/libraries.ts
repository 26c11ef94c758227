import htm from 'htm'
import { Component, h, render, type ComponentChildren, type VNode } from 'preact'

/*
 * The packages of the page, imported here only: the service rewrites these names to paths (src/http/page).
 */

export { Component, render }
export type Children = ComponentChildren

/** Makes elements from a template. Values become text and attributes, never markup. */
export const html = htm.bind(h) as unknown as (strings: TemplateStringsArray, ...values: unknown[]) => VNode
