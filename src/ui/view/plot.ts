import { Component, html } from '../libraries.ts'
import type { PlotData } from '../state/service/series.ts'
import type { AlignedData, Options, Plot } from '../plots.ts'

type PlotProps = { data: PlotData, times: readonly number[] }

const height = 160
const colorNames = ['--running', '--succeeded', '--failed', '--cancelled', '--queued', '--accent']

const toNumber = (value: number | null | undefined): string =>
  value == null ? '–' : value.toLocaleString('en', { maximumSignificantDigits: 3 })

const colorOf = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name)

const toOptions = ({ lines, isStepped }: PlotData, width: number, Library: typeof Plot): Options => {
  const axis = { stroke: colorOf('--quiet'), grid: { stroke: colorOf('--line'), width: 1 }, ticks: { show: false } }
  const paths = isStepped === true ? Library.paths.stepped?.({ align: 1 }) : undefined
  return {
    width,
    height,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: { min: { pad: 0, soft: 0, mode: 1 }, max: { pad: 0.1, soft: 1, mode: 1 } } } },
    axes: [axis, { ...axis, size: 56 }],
    series: [{}, ...lines.map(({ name }, index) => ({
      label: name,
      stroke: colorOf(colorNames[index % colorNames.length] ?? ''),
      width: 1.5,
      points: { show: false },
      ...paths === undefined ? {} : { paths }
    }))]
  }
}

/** A plot with the last values as its text; the canvas is a picture of the same. */
export class PlotView extends Component<PlotProps> {
  element: HTMLElement | null = null
  plot: Plot | null = null
  drawn = ''
  observer: ResizeObserver | null = null
  readonly scheme = matchMedia('(prefers-color-scheme: dark)')
  readonly onScheme = (): void => { void this.draw(true) }

  override componentDidMount (): void {
    this.scheme.addEventListener('change', this.onScheme)
    this.observer = new ResizeObserver(() => { this.plot?.setSize({ width: this.element?.clientWidth ?? 0, height }) })
    if (this.element !== null) this.observer.observe(this.element)
    void this.draw(false)
  }

  override componentDidUpdate (): void { void this.draw(false) }

  override componentWillUnmount (): void {
    this.scheme.removeEventListener('change', this.onScheme)
    this.observer?.disconnect()
    this.plot?.destroy()
    this.element = null
  }

  /** `isNew`: with other colours. */
  async draw (isNew: boolean): Promise<void> {
    const { Plot: Library } = await import('../plots.ts')
    const { element, props: { data, times } } = this
    if (element === null) return
    const values = [times, ...data.lines.map(line => line.values)] as AlignedData
    const drawn = data.lines.map(({ name }) => name).join('\n')
    if (this.plot !== null && drawn === this.drawn && !isNew) return this.plot.setData(values)
    this.plot?.destroy()
    this.drawn = drawn
    this.plot = new Library(toOptions(data, element.clientWidth, Library), values, element)
  }

  override render ({ data: { title, unit, lines } }: PlotProps) {
    const setElement = (element: HTMLElement | null): void => { if (element !== null) this.element = element }
    return html`<figure class="plot card">
      <figcaption><h3>${title}</h3></figcaption>
      <div class="canvas" aria-hidden="true" ref=${setElement}></div>
      <ul class="legend">
        ${lines.map(({ name, values }, index) => html`<li>
          <span class="swatch" aria-hidden="true" style=${{ background: `var(${colorNames[index % colorNames.length]})` }}></span>
          ${name} <b>${toNumber(values.at(-1))}${unit === '' || values.at(-1) == null ? '' : ` ${unit}`}</b>
        </li>`)}
        ${lines.length === 0 && html`<li>nothing to show</li>`}
      </ul>
    </figure>`
  }
}
