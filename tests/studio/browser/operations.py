"""Random operations of all tools, and what they do to a label map by the rules of rasteriser.py."""

import math
import random

from tests.studio import rasteriser

TOOLS = ['brush', 'brush', 'brush', 'line', 'rectangle', 'polygon', 'fill', 'clean']


def make_operations(seed, width, height, classes, number):
    """`number` operations as operations.js takes them, in JSON's types."""
    draw = random.Random(seed)

    def point():
        # Sixteenths are exact, and some points are outside the map.
        return [
            draw.randrange(-width * 2, width * 18) / 16,
            draw.randrange(-height * 2, height * 18) / 16,
            draw.choice([None, draw.randrange(17) / 16]),
        ]

    def walk(steps):
        x, y, _ = point()
        way = []
        for _ in range(steps):
            x += draw.choice([-1, 1]) * draw.randrange(32, 160) / 16
            y += draw.choice([-1, 1]) * draw.randrange(32, 160) / 16
            way.append([x, y, draw.choice([None, draw.randrange(17) / 16])])
        return way

    def ids(share):
        return draw.sample(range(classes), 2) if draw.random() < share else []

    def operation():
        name = draw.choice(TOOLS)
        is_clicks = name == 'polygon' and draw.random() < 0.5
        points = {
            'brush': lambda: walk(draw.randrange(1, 12)),
            'polygon': lambda: [point() for _ in range(draw.randrange(3, 8))],
            'fill': lambda: [point()],
            'clean': list,
        }.get(name, lambda: [point(), point(), point()])()
        if name == 'polygon' and not is_clicks:
            points = walk(draw.randrange(3, 20))
        return {
            'settings': {
                'name': name,
                'shape': draw.choice(['circle', 'square', 'diamond', 'bar']),
                'size': draw.choice([draw.randrange(1, 20), draw.randrange(1, 129)]),
                'first': draw.randrange(classes),
                'second': draw.randrange(classes),
                'mirrorX': draw.random() < 0.2,
                'mirrorY': draw.random() < 0.2,
                'protected': ids(0.2),
                'only': ids(0.2),
                'pressure': draw.random() < 0.3,
            },
            'points': points,
            'shift': name in ('line', 'rectangle', 'fill') and draw.random() < 0.3,
            'button': draw.choice(['first', 'first', 'second', 'background']),
            'isClicks': is_clicks,
        }

    return [operation() for _ in range(number)]


def operate(label_map, operation, background):
    """Do one operation on a rasteriser.LabelMap."""
    settings, shift = operation['settings'], operation['shift']
    label_map.protected = frozenset(settings['protected'])
    label_map.only = frozenset(settings['only'])
    label_map.mirror_x, label_map.mirror_y = settings['mirrorX'], settings['mirrorY']
    label = {**settings, 'background': background}[operation['button']]
    points = [(x, y) for x, y, _ in operation['points']]
    name, shape, size = settings['name'], settings['shape'], settings['size']
    if name == 'clean':
        label_map.clean_up()
    elif name == 'brush':
        sizes = [pressed_size(settings, point[2]) for point in operation['points']]
        label_map.stroke(label, shape, sizes, points)
    elif name == 'line':
        end = rasteriser.snap_to_angle(points[0], points[-1]) if shift else points[-1]
        label_map.stroke(label, shape, size, [points[0], end])
    elif name == 'rectangle':
        end = rasteriser.snap_to_square(points[0], points[-1]) if shift else points[-1]
        label_map.rectangle(label, points[0], end)
    elif name == 'polygon':
        label_map.polygon(label, points)
    else:
        label_map.fill(label, points[0], everywhere=shift)


def pressed_size(settings, pressure):
    if not settings['pressure'] or pressure is None:
        return settings['size']
    return max(1, math.floor(settings['size'] * (0.25 + 0.75 * pressure) + 0.5))
