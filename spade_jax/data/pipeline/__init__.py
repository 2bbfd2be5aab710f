"""From examples to batches with tf.data."""
