/*
 * The package that draws plots, loaded when the first one is to be drawn.
 */

export { default as Plot } from 'uplot'
export type { AlignedData, Options, Series } from 'uplot'
