"""The scores and the choices of their protocols, for `--mode=evaluate` and during training."""

import dataclasses

from spade_jax.config.option import Section, option


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Section):
    """Which scores, and every choice that decides them; docs/evaluation.md explains both."""

    evaluate: str = option(
        'fid',
        'Scores, with commas: fid, kid; of pairs lpips, l1, psnr, ssim; of styles lpips_diversity; '
        'of label maps miou. Without downloads, comparable within one data set only: '
        'lite0_frechet, lite0_kernel, and layout, unet_miou, by judges that are fitted to the '
        'training set.',
        mutable=True,
    )
    evaluate_every: int = option(
        0, 'Steps between two evaluations during training; 0: none.', at_least=0, mutable=True
    )
    evaluate_examples: int = option(
        0,
        'Label maps to evaluate, spread evenly over the validation set; 0: all.',
        at_least=0,
        mutable=True,
    )
    style_rule: str = option(
        'random',
        'Styles of the sampled images: random for each label map, one that is fixed for all, or '
        'that of the photo.',
        choices=('random', 'fixed', 'photo'),
        mutable=True,
    )
    fid_mode: str = option(
        'pytorch_fid',
        'How fid and kid prepare images: as pytorch-fid, as clean-fid, as TensorFlow, or as '
        'pytorch-fid before May 2019, with the ImageNet weights of torchvision.',
        choices=(
            'pytorch_fid',
            'clean',
            'legacy_tensorflow',
            'pytorch_fid_2019_02',
            'pytorch_fid_2018',
        ),
        mutable=True,
    )
    inception_weights: str = option(
        '', 'Published weights of Inception for fid and kid.', mutable=True, path=True
    )
    photo_statistics: str = option(
        '',
        'Statistics (.npz of mu and sigma) in place of the photos for fid.',
        mutable=True,
        path=True,
    )
    feature_cache_dir: str = option(
        '~/.cache/spade_jax/features',
        'Directory that keeps features and trained judges.',
        mutable=True,  # Its "~" is expanded where it is used: checkpoints travel to other homes.
    )
    kid_subset_size: int = option(
        1000, 'Images of a subset of kid and lite0_kernel.', at_least=2, at_most=10**6, mutable=True
    )
    kid_subsets: int = option(100, 'Number of subsets.', at_least=1, at_most=10**4, mutable=True)
    lpips_network: str = option('alex', 'Backbone of LPIPS.', choices=('alex', 'vgg'), mutable=True)
    lpips_weights: str = option(
        '', "torchvision's weights of the backbone.", mutable=True, path=True
    )
    diversity_styles: int = option(
        5,
        'Random styles of each label map for lpips_diversity.',
        at_least=2,
        at_most=100,
        mutable=True,
    )
    segmentation_network: str = option(
        'none',
        'Network that predicts the label maps of miou: DRN-D-105 for Cityscapes, UPerNet101 (with '
        'the weights of before August 2019: upernet101_old) for ADE20K, DeepLab v2 for COCO-Stuff.',
        choices=('none', 'drn_d_105', 'upernet101', 'upernet101_old', 'deeplab_v2'),
        mutable=True,
    )
    segmentation_weights: str = option(
        '', 'Its published weights; of UPerNet, the files of encoder and decoder.', mutable=True
    )
    protocol: str = option(
        'scripts',
        "How miou is computed where no flag says it: as the network's own scripts do, or as far as "
        'it is known of a paper.',
        choices=('scripts', 'spade', 'cc_fpse', 'oasis', 'clade', 'gan_compression'),
        mutable=True,
    )
    segmentation_input: str = option(
        'protocol',
        "Size of the network's input: images as generated, or resized to their label maps.",
        choices=('protocol', 'as_generated', 'label_size'),
        mutable=True,
    )
    segmentation_compare: str = option(
        'protocol',
        'Where miou compares labels: at the size of the images, with the nearest labels as Pillow '
        'or as PyTorch finds them, or at that of the label maps.',
        choices=('protocol', 'image_size', 'image_size_pytorch', 'label_size'),
        mutable=True,
    )
    segmentation_scales: str = option(
        'protocol',
        "Scales of the network's input that are averaged: one, or several as in its scripts.",
        choices=('protocol', 'one', 'several'),
        mutable=True,
    )
    iou_mean: str = option(
        'protocol',
        'The classes over which miou is the mean: those in the label maps (the default without a '
        'network); those in label maps or predictions; or all, with 0 for a class in neither.',
        choices=('protocol', 'in_labels', 'in_either', 'all'),
        mutable=True,
    )
