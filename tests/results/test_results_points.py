"""Which metrics are one score at several extraction points: by their names, the plain one by what its arm says."""

from __future__ import annotations

from foresight.results import points


def content(**metrics_by_sub: list[str]) -> dict:
    criteria = [
        {"metric": "bbox_iou", "direction": "higher", "sub_experiment": "e_q2_2", "arm": "X3 tokens -> H5"},
        {"metric": "mAP", "direction": "higher", "sub_experiment": "e_q2_4", "arm": "X3 tokens -> H7"},
        {"metric": "lpips", "direction": "lower", "sub_experiment": "e_q2_5", "arm": "X3 tokens -> decoder"},
        {"metric": "cka", "direction": "higher", "sub_experiment": "eq1_7", "arm": "X4.last visual tokens and X6 flat"},
    ]
    entries = {sub: {"metrics": dict.fromkeys(names, 0.5)} for sub, names in metrics_by_sub.items()}
    return {"criteria": criteria, "results": {"experiments": entries}}


def found(**metrics_by_sub: list[str]) -> list[tuple[str, str, list[str]]]:
    return [(one.metric, one.how, list(one.at)) for one in points.across(content(**metrics_by_sub))]


def test_before_and_after_the_merger_at_one_width_and_as_they_are():
    names = ["bbox_iou", "bbox_iou_pre", "bbox_iou_post", "bbox_iou_pre_own", "bbox_iou_pooled_linear", "common_width"]
    assert found(e_q2_2=names) == [
        ("bbox_iou", "at one width", ["X2", "X3"]),
        ("bbox_iou", "as they are", ["X2", "X3"]),
    ]
    own = points.across(content(e_q2_2=names))[1]
    assert own.at == {"X2": "bbox_iou_pre_own", "X3": "bbox_iou"}


def test_layers_stand_in_the_order_of_the_model_and_the_last_one_last():
    names = ["bbox_iou_x4_14", "bbox_iou_x4_last", "bbox_iou_x4_7", "bbox_iou_x3", "bbox_iou_x3_hits"]
    assert found(e_q2_3=names) == [("bbox_iou", "", ["X3", "X4.7", "X4.14", "X4.last"])]


def test_the_plain_metric_is_read_where_its_arm_says_and_another_model_is_no_point_of_this_one():
    assert found(e_q2_5=["lpips", "lpips_x2"]) == [("lpips", "", ["X2", "X3"])]
    assert found(eq1_7=["cka", "cka_x3", "cka_x1_2"]) == [("cka", "", ["X1.2", "X3", "X4.last"])]
    assert found(e_q2_4=["mAP", "mAP_x2", "mAP_x3", "mAP_x7", "common_width", "mAP_x2_ap_75"]) == [
        ("mAP", "at one width", ["X2", "X3"])
    ]


def test_one_point_is_no_comparison_and_what_no_criterion_is_about_is_left_out():
    assert found(e_q2_1=["bbox_iou", "bbox_iou_pooled"], e_q2_6=["speed_x3", "speed_x4_last"]) == []


def test_a_step_is_called_by_what_lies_between():
    assert points.step_name("X2", "X3") == "the merger"
    assert points.step_name("X3", "X4.7") == points.step_name("X4.7", "X4.last") == "language model"
    assert points.step_name("X2", "X4.7") == "language model"
