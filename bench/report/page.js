/* global document, uPlot, devicePixelRatio, getComputedStyle, matchMedia, ResizeObserver */
/* eslint new-cap: [error, { newIsCapExceptions: [uPlot] }] */

// Script of the report's page, loaded after uPlot. It draws the curves that the page contains as JSON (CurveData in
// curves.ts).
{
  const { decades, curves, limit } = JSON.parse(document.getElementById('curves').textContent)
  const [chart, legend, at] = ['chart', 'legend', 'at'].map(id => document.getElementById(id))
  const restingIndex = decades.findIndex(decade => decade >= 2)
  const colours = 8
  const dashes = [[], [8, 5], [2, 4]]
  const shown = curves.map(({ isService }) => isService)

  const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
  const colour = at => style(`--curve-${at % colours}`)
  const dash = at => dashes[Math.floor(at / colours) % dashes.length]
  const digits = number => number.toLocaleString('en', { maximumSignificantDigits: 3 })
  const toTime = us => {
    if (us == null) return '–'
    if (us < 1000) return `${digits(us)} µs`
    return us < 1e6 ? `${digits(us / 1000)} ms` : `${digits(us / 1e6)} s`
  }
  const toPercentile = decade => `p${Number((100 - 10 ** (2 - decade)).toFixed(Math.max(0, Math.ceil(decade) - 1)))}`

  const steps = (min, max) => {
    const all = []
    for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
      all.push(...[1, 2, 5].map(factor => Number((factor * 10 ** power).toPrecision(1))))
    }
    return all
  }
  const toRange = (_chart, min, max) => {
    const [low, high] = [Math.min(min ?? 100, limit?.us ?? Infinity), Math.max(max ?? 1000, limit?.us ?? 0)]
    return [steps(low, high).findLast(step => step <= low), steps(low, high).find(step => step > high)]
  }

  const showValues = index => {
    at.textContent = `Latency at ${toPercentile(decades[index])}`
    legend.querySelectorAll('.value').forEach((value, at) => { value.textContent = toTime(curves[at].us[index]) })
  }

  const drawLimit = plot => {
    if (!limit) return
    const { ctx, bbox } = plot
    const ratio = devicePixelRatio
    const y = plot.valToPos(limit.us, 'y', true)
    const x = plot.valToPos(limit.decade, 'x', true)
    ctx.save()
    ctx.strokeStyle = ctx.fillStyle = style('--bad')
    ctx.lineWidth = 1.5 * ratio
    ctx.setLineDash([5 * ratio, 4 * ratio])
    ctx.beginPath()
    ctx.moveTo(bbox.left, y)
    ctx.lineTo(x, y)
    ctx.stroke()
    ctx.setLineDash([])
    ctx.beginPath()
    ctx.arc(x, y, 3.5 * ratio, 0, 2 * Math.PI)
    ctx.fill()
    ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`
    ctx.textAlign = 'left'
    ctx.textBaseline = 'bottom'
    ctx.fillText(limit.label, bbox.left + 6 * ratio, y - 4 * ratio)
    ctx.restore()
  }

  const toAxis = more => ({
    stroke: style('--muted'),
    font: '12px system-ui, sans-serif',
    grid: { stroke: style('--line'), width: 1 },
    ticks: { stroke: style('--line'), width: 1, size: 5 },
    ...more
  })

  const size = () => ({ width: chart.clientWidth, height: chart.clientWidth < 600 ? 320 : 440 })

  const draw = () => new uPlot({
    ...size(),
    legend: { show: false },
    focus: { alpha: 0.2 },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: false }, y: { distr: 3, log: 10, range: toRange } },
    axes: [
      toAxis({
        label: 'responses within this time',
        labelFont: '12px system-ui, sans-serif',
        labelSize: 20,
        size: 30,
        splits: () => [0, 1, 2, 3, 4],
        values: (_chart, marks) => marks.map(mark => `${toPercentile(mark).slice(1)} %`)
      }),
      toAxis({
        size: 64,
        splits: (_chart, _axis, min, max) => steps(min, max).filter(step => step >= min && step <= max),
        filter: (_chart, marks) => marks,
        values: (_chart, marks) => marks.map(toTime)
      })
    ],
    series: [{}, ...curves.map(({ name }, at) => ({
      label: name, show: shown[at], stroke: colour(at), width: 2, dash: dash(at), points: { show: false }
    }))],
    hooks: { draw: [drawLimit], setCursor: [({ cursor: { idx } }) => showValues(idx ?? restingIndex)] }
  }, [decades, ...curves.map(({ us }) => us)], chart)

  let plot = draw()

  const show = (at, isShown) => {
    shown[at] = isShown
    plot.setSeries(at + 1, { show: isShown })
    legend.querySelectorAll('button')[at].setAttribute('aria-pressed', String(isShown))
  }

  curves.forEach(({ name }, at) => {
    const item = document.createElement('li')
    item.innerHTML = '<button type="button"><svg width="24" height="10" aria-hidden="true">' +
      '<line x1="0" y1="5" x2="24" y2="5" stroke-width="2.5"/></svg>' +
      '<span class="name"></span><span class="value"></span></button>'
    const [button, line] = [item.firstChild, item.querySelector('line')]
    button.setAttribute('aria-pressed', String(shown[at]))
    line.style.stroke = `var(--curve-${at % colours})`
    line.style.strokeDasharray = dash(at).join(' ')
    item.querySelector('.name').textContent = name
    button.addEventListener('click', () => show(at, !shown[at]))
    const focus = () => { if (shown[at]) plot.setSeries(at + 1, { focus: true }) }
    const unfocus = () => plot.setSeries(null, { focus: true })
    for (const event of ['mouseenter', 'focus']) button.addEventListener(event, focus)
    for (const event of ['mouseleave', 'blur']) button.addEventListener(event, unfocus)
    legend.append(item)
  })
  showValues(restingIndex)

  for (const [id, isShown] of [['all', true], ['none', false]]) {
    document.getElementById(id).addEventListener('click', () => curves.forEach((_curve, at) => show(at, isShown)))
  }
  new ResizeObserver(() => plot.setSize(size())).observe(chart)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { plot.destroy(); plot = draw() })
}
