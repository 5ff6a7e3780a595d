from __future__ import annotations

from mmsls.vtab.results import Result, load, runs_of, save, summary_table, task_table


def result(task='svhn', method='SLS', accuracy=50.0, seed=0, **more):
    fields = {'kept': [[0, 0], [0, 1]], 'before': 20.0, 'total': 3_000_000, 'trained': 10_000, 'stored': 10_000}
    fields |= {'stored_bytes': 2048, 'macs': 10**9, 'throughput': 8.0, 'memory': 2**20}
    return Result(task=task, seed=seed, method=method, accuracy=accuracy, **{**fields, **more})


def lines(table):
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()]


def test_results_come_back_from_their_file(tmp_path):
    results = [result(), result(method='tuned', before=None, same_as='SLS')]
    save(results, tmp_path / 'r.json')
    assert load(tmp_path / 'r.json') == results


def test_a_task_table_has_a_line_per_method_and_its_spread_over_seeds():
    table = task_table(
        [
            *(result(method='tuned', before=None, seed=seed, kept=[[0, 0], [0, 1], [0, 2]]) for seed in (0, 1)),
            result(accuracy=60.0),
            result(accuracy=62.0, seed=1, kept=[[0, 0], [0, 2]]),
            *(result(method='cka', same_as='SLS', seed=seed) for seed in (0, 1)),
        ]
    )
    body = lines(table)[2:]
    assert [line[0] for line in body] == ['tuned', 'SLS', 'cka (= SLS)']
    assert body[0][1:4] == ['0-2', '50.00 ± 0.00', '-']
    assert body[1][1:7] == ['0 2, 0-1', '61.00 ± 1.41', '20.00 ± 0.00', '3.000', '0.010', '0.010']
    assert body[1][7:] == ['2', '1.000', '8.0', '1']


def test_the_summary_averages_groups_not_tasks():
    tasks = {'cifar': 10.0, 'dtd': 30.0, 'eurosat': 90.0, 'kitti': 40.0}
    results = [result(task, accuracy=value, seed=seed) for task, value in tasks.items() for seed in (0, 1)]
    body = lines(summary_table(results))[2]
    assert body[:2] == ['SLS', '4']
    assert body[2] == '20.00'
    assert body[5] == '50.00'


def test_means_over_different_runs_are_left_open():
    results = [result(task, 'tuned', 70.0) for task in ('cifar', 'dtd', 'eurosat')]
    results += [result(task, 'SLS', 80.0) for task in ('cifar', 'eurosat')]
    tuned, sls = lines(summary_table(results))[2:]
    assert tuned[:4] == ['tuned', '3', '70.00', '70.00']
    assert sls[:4] == ['SLS (2 of 3 runs)', '2', '-', '80.00']


def test_a_method_that_lacks_a_seed_says_so():
    table = task_table([result(method='tuned', seed=0), result(method='tuned', seed=1), result(method='cka')])
    assert [line[0] for line in lines(table)[2:]] == ['tuned', 'cka (1 of 2 seeds)']


def test_a_group_without_tasks_leaves_the_average_open():
    body = lines(summary_table([result('cifar')]))[2]
    assert body[3:6] == ['-', '-', '-']


def test_stages_do_not_break_the_columns_of_markdown():
    header, _, body = lines(task_table([result(kept=[[0, 0], [0, 1], [2, 0]])]))
    assert len(body) == len(header)
    assert body[1] == '0-1 / - / 0'


def test_a_method_is_another_one_only_where_it_is_so_in_every_seed():
    table = task_table([result(method='taylor', same_as='SLS'), result(method='taylor', seed=1)])
    assert lines(table)[2][0] == 'taylor'


def test_runs_are_joined():
    assert runs_of([0, 1, 3, 5, 6, 7]) == ['0-1', '3', '5-7']
    assert runs_of([]) == []
