def test_update_calls_listeners_of_the_slice_until_they_end(page):
    heard = page.evaluate("""async () => {
      const {state, subscribe, update} = await import('/static/js/state.js');
      const heard = [];
      const end = subscribe('tool', (tool, fields) => heard.push([tool.size, Object.keys(fields)]));
      update('tool', {size: 5});
      update('view', {zoom: 2});
      end();
      update('tool', {size: 6});
      return [...heard, state.tool.size, state.view.zoom];
    }""")
    assert heard == [[5, ['size']], 6, 2]
