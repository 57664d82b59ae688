//! A layered layout (Sugiyama's method): layers by longest path, order within a layer by barycentres, positions by
//! least squares without overlaps. Sub-workflows are laid out first and make their node as large as they are.

use unicode_width::UnicodeWidthStr;

use super::{Item, Sheet};

pub(super) const LINE: f64 = 16.0;
pub(super) const PAD: f64 = 12.0;
const NODE_GAP: f64 = 28.0;
const LAYER_GAP: f64 = 46.0;
const DUMMY: f64 = 8.0;
const SWEEPS: usize = 12;

/// A sheet whose nodes and edges have places, from (0, 0).
pub(super) struct Laid {
    pub(super) width: f64,
    pub(super) height: f64,
    /// By position in the sheet's items.
    pub(super) boxes: Vec<Place>,
    /// By position in the sheet's arrows.
    pub(super) paths: Vec<Vec<(f64, f64)>>,
}

/// Where a node is: its upper left corner and its size.
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) inner: Option<Laid>,
}

/// A node or a point at which an edge passes a layer.
struct Vertex {
    layer: usize,
    width: f64,
    /// Its centre.
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// The height of a node's text.
pub(super) fn text_height(item: &Item) -> f64 {
    LINE * (2 + item.notes.len()) as f64 + PAD
}

fn text_width(item: &Item) -> f64 {
    let name = item.name.width() as f64 * 8.0;
    let rest = std::iter::once(item.what()).chain(item.notes.iter().cloned());
    rest.map(|line| line.width() as f64 * 6.4).fold(name, f64::max)
}

pub(super) fn lay_out(sheet: &Sheet) -> Laid {
    let inner: Vec<Option<Laid>> = sheet.items.iter().map(|item| item.inner.as_ref().map(lay_out)).collect();
    let sizes: Vec<(f64, f64)> =
        sheet.items.iter().zip(&inner).map(|(item, inner)| size(item, inner.as_ref())).collect();
    let (mut vertices, chains) = vertices(sheet, &sizes);
    let layers = order(&mut vertices);
    place(&mut vertices, &layers);

    let heights: Vec<f64> = layers
        .iter()
        .map(|layer| layer.iter().filter_map(|at| sizes.get(*at)).map(|size| size.1).fold(0.0, f64::max))
        .collect();
    let mut tops = Vec::with_capacity(heights.len());
    let mut height = 0.0;
    for layer in &heights {
        tops.push(height);
        height += layer + LAYER_GAP;
    }
    let boxes: Vec<Place> = inner
        .into_iter()
        .enumerate()
        .map(|(at, inner)| {
            let (width, height) = sizes[at];
            Place { x: vertices[at].x - width / 2.0, y: tops[vertices[at].layer], width, height, inner }
        })
        .collect();
    let paths = chains
        .iter()
        .map(|chain| {
            let mut points = Vec::new();
            for (step, at) in chain.iter().enumerate() {
                let Vertex { x, layer, .. } = vertices[*at];
                let (top, bottom) = (tops[layer], tops[layer] + heights[layer]);
                if step > 0 {
                    points.push((x, top));
                }
                if step + 1 < chain.len() {
                    // A node that is lower than its layer is left by a straight line first.
                    if let Some(node) = boxes.get(*at).filter(|node| node.y + node.height < bottom - 0.5) {
                        points.push((x, node.y + node.height));
                    }
                    points.push((x, bottom));
                }
            }
            points
        })
        .collect();
    let right = vertices.iter().map(|vertex| vertex.x + vertex.width / 2.0).fold(0.0, f64::max);
    Laid { width: right, height: (height - LAYER_GAP).max(0.0), boxes, paths }
}

fn size(item: &Item, inner: Option<&Laid>) -> (f64, f64) {
    let (width, height) = (text_width(item).max(72.0) + 2.0 * PAD, text_height(item));
    match inner {
        Some(laid) => (width.max(laid.width + 2.0 * PAD), height + laid.height + PAD),
        None => (width, height),
    }
}

/// The nodes, then the points at which edges pass layers; and the vertices along each edge.
fn vertices(sheet: &Sheet, sizes: &[(f64, f64)]) -> (Vec<Vertex>, Vec<Vec<usize>>) {
    let vertex = |layer, width| Vertex { layer, width, x: 0.0, above: Vec::new(), below: Vec::new() };
    let mut vertices: Vec<Vertex> =
        sheet.items.iter().zip(sizes).map(|(item, size)| vertex(item.layer, size.0)).collect();
    let mut chains = Vec::with_capacity(sheet.arrows.len());
    for arrow in &sheet.arrows {
        let mut chain = vec![arrow.from];
        for layer in sheet.items[arrow.from].layer + 1..sheet.items[arrow.to].layer {
            chain.push(vertices.len());
            vertices.push(vertex(layer, DUMMY));
        }
        chain.push(arrow.to);
        for pair in chain.windows(2) {
            vertices[pair[0]].below.push(pair[1]);
            vertices[pair[1]].above.push(pair[0]);
        }
        chains.push(chain);
    }
    (vertices, chains)
}

/// The vertices of each layer from left to right, with few crossings.
fn order(vertices: &mut [Vertex]) -> Vec<Vec<usize>> {
    let count = vertices.iter().map(|vertex| vertex.layer + 1).max().unwrap_or_default();
    let mut layers = vec![Vec::new(); count];
    for (at, vertex) in vertices.iter().enumerate() {
        layers[vertex.layer].push(at);
    }
    let mut best = layers.clone();
    let mut fewest = crossings(vertices, &layers);
    for sweep in 0..SWEEPS {
        let mut rank = vec![0.0; vertices.len()];
        for layer in &layers {
            number(&mut rank, layer);
        }
        let down = sweep % 2 == 0;
        let along: Vec<usize> = if down { (0..count).collect() } else { (0..count).rev().collect() };
        for layer in along {
            let centre = |at: &usize| {
                let near = if down { &vertices[*at].above } else { &vertices[*at].below };
                let sum: f64 = near.iter().map(|other| rank[*other]).sum();
                if near.is_empty() { rank[*at] } else { sum / near.len() as f64 }
            };
            let mut keyed: Vec<(f64, usize)> = layers[layer].iter().map(|at| (centre(at), *at)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            layers[layer] = keyed.into_iter().map(|(_, at)| at).collect();
            number(&mut rank, &layers[layer]);
        }
        let found = crossings(vertices, &layers);
        if found < fewest {
            fewest = found;
            best.clone_from(&layers);
        }
    }
    best
}

/// Ranks within a layer, from 0 to 1, so that layers of different lengths compare.
fn number(rank: &mut [f64], layer: &[usize]) {
    for (index, at) in layer.iter().enumerate() {
        rank[*at] = (index as f64 + 0.5) / layer.len() as f64;
    }
}

fn crossings(vertices: &[Vertex], layers: &[Vec<usize>]) -> usize {
    let mut position = vec![0; vertices.len()];
    for layer in layers {
        for (index, at) in layer.iter().enumerate() {
            position[*at] = index;
        }
    }
    let mut found = 0;
    for layer in layers {
        let mut edges: Vec<(usize, usize)> = layer
            .iter()
            .flat_map(|from| vertices[*from].below.iter().map(|to| (position[*from], position[*to])))
            .collect();
        edges.sort_unstable();
        // Beyond this the count would take longer than it is worth.
        edges.truncate(2_000);
        for (at, (from, to)) in edges.iter().enumerate() {
            found += edges[at + 1..].iter().filter(|(other, end)| other > from && end < to).count();
        }
    }
    found
}

/// Centres: each layer in turn as near to its neighbours as can be without overlaps.
fn place(vertices: &mut [Vertex], layers: &[Vec<usize>]) {
    for layer in layers {
        let mut right = 0.0;
        for at in layer {
            vertices[*at].x = right + vertices[*at].width / 2.0;
            right += vertices[*at].width + NODE_GAP;
        }
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let along: Vec<usize> = if down { (0..layers.len()).collect() } else { (0..layers.len()).rev().collect() };
        for layer in along {
            let wanted: Vec<f64> =
                layers[layer].iter().map(|at| wanted(vertices, *at, down, sweep + 2 >= SWEEPS)).collect();
            let centres = spread(vertices, &layers[layer], &wanted);
            for (at, x) in layers[layer].iter().zip(centres) {
                vertices[*at].x = x;
            }
        }
    }
    let left = vertices.iter().map(|vertex| vertex.x - vertex.width / 2.0).fold(f64::INFINITY, f64::min);
    for vertex in vertices {
        vertex.x -= left;
    }
}

/// Where a vertex would like to be: amid its neighbours on one side, at last amid all of them.
fn wanted(vertices: &[Vertex], at: usize, down: bool, both: bool) -> f64 {
    let vertex = &vertices[at];
    let above = vertex.above.iter().filter(|_| down || both);
    let below = vertex.below.iter().filter(|_| !down || both);
    let near: Vec<f64> = above.chain(below).map(|other| vertices[*other].x).collect();
    if near.is_empty() { vertex.x } else { near.iter().sum::<f64>() / near.len() as f64 }
}

/// The centres nearest to `wanted`, in the least squares, at which neighbours keep their gap: pooling adjacent
/// violators after the widths are taken out.
fn spread(vertices: &[Vertex], layer: &[usize], wanted: &[f64]) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(layer.len());
    let mut offset = 0.0;
    for (index, at) in layer.iter().enumerate() {
        if index > 0 {
            offset += f64::midpoint(vertices[layer[index - 1]].width, vertices[*at].width) + NODE_GAP;
        }
        offsets.push(offset);
    }
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        pools.push((wanted - offset, 1));
        while let [.., (before, many), (last, few)] = pools[..]
            && before > last
        {
            pools.truncate(pools.len() - 2);
            let all = many + few;
            pools.push(((before * many as f64 + last * few as f64) / all as f64, all));
        }
    }
    let levels = pools.into_iter().flat_map(|(level, many)| std::iter::repeat_n(level, many));
    levels.zip(offsets).map(|(level, offset)| level + offset).collect()
}
