"""The classes' colours seen by colour-blind eyes, on a light page and on a dark one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mmsls.report.palette import COLOURS, MARKS, MOST, OTHER, styles

# Machado, Oliveira & Fernandes, IEEE TVCG 2009, severity 1.0; of linear RGB.
EYES = {
    'usual': np.eye(3),
    'protan': [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    'deutan': [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    'tritan': [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour, eye):
    xyz = TO_XYZ @ np.clip(np.array(EYES[eye]) @ linear(colour), 0, 1) / (0.9505, 1.0, 1.089)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    dark, light = sorted(0.05 + (TO_XYZ @ linear(colour))[1] for colour in (one, other))
    return light / dark


@pytest.mark.parametrize('eye', EYES)
def test_no_two_colours_look_alike(eye):
    for one, other in combinations(COLOURS, 2):
        assert np.linalg.norm(lab(one, eye) - lab(other, eye)) > 12, (one, other)


@pytest.mark.parametrize('page', ['#ffffff', '#1b1f24'])
def test_every_colour_stands_out_from_the_page(page):
    for colour in (*COLOURS, OTHER):
        assert contrast(colour, page) > 2, colour


def test_eighty_classes_have_eighty_styles():
    found = styles(range(80))
    assert len(set(found.values())) == 80 <= MOST
    assert len({style.mark for style in found.values()}) == len(MARKS)
    assert styles([*range(MOST), MOST + 5])[MOST + 5].colour == OTHER
