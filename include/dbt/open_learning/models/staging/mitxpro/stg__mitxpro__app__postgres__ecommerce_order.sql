select
  id as order_id,
  purchaser_id as user_id,
  status as order_state,
  total_price_paid as order_total_price_paid,
  {{ utc('created_on') }} as order_created_on,
  {{ utc('updated_on') }} as order_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__xpro__app__postgres__ecommerce_order') }}
